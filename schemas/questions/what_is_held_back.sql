-- What is not published, why, and what can be done about it?
SELECT
  reason,
  stage,
  CAST(count(*) AS BIGINT) AS n_units,
  min(drive_date) AS first_drive,
  max(drive_date) AS last_drive,
  min(source_uri) AS example,
  min(remedy) AS remedy
FROM quarantine_open
GROUP BY reason, stage
ORDER BY n_units DESC, reason, stage
