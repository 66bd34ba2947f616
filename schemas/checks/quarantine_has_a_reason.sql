-- Each refused unit has a row that names the reason, and the other way round.
SELECT coalesce(s.unit_id, q.unit_id) AS unit_id, s.reason AS segment_reason, q.reason
FROM (
  SELECT unit_id, run_id, reason FROM segments WHERE status = 'quarantined'
) AS s
FULL JOIN quarantine AS q
  ON s.unit_id = q.unit_id AND s.run_id = q.run_id
WHERE s.reason IS NULL OR q.reason IS NULL OR s.reason <> q.reason
