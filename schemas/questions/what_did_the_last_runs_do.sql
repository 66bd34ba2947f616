-- What did the last ten runs do, how did they end, and how fast were they?
SELECT
  run_id,
  command,
  status,
  exit_code,
  n_planned,
  n_done_before,
  n_published,
  n_quarantined,
  n_faces,
  frames_per_compute_s
FROM run_summary
ORDER BY started_at DESC, run_id
LIMIT 10
