-- What is refused and not published since: one row per unit with the latest reason and remedy.
SELECT
  unit_id,
  recording_id,
  drive_date,
  fleet,
  vehicle_id,
  camera,
  source_uri,
  stage,
  reason,
  detail,
  remedy,
  attempt,
  run_id,
  committed_at
FROM (
  SELECT
    q.*,
    row_number() OVER (
      PARTITION BY q.unit_id ORDER BY q.committed_at DESC, q.run_id DESC, q.attempt DESC
    ) AS recency
  FROM quarantine AS q
  LEFT JOIN current_segments AS s
    ON q.unit_id = s.unit_id
  WHERE s.status IS NULL OR s.status = 'quarantined'
) AS ranked
WHERE recency = 1
