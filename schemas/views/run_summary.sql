-- One row per run: its latest state, what it did and how fast.
-- A run that shows `started` is either going on or was killed.
SELECT
  r.run_id,
  r.command,
  r.status,
  r.exit_code,
  r.started_at,
  r.finished_at,
  r.n_planned,
  r.n_done_before,
  r.n_published,
  r.n_quarantined,
  CAST(coalesce(s.n_frames, 0) AS BIGINT) AS n_frames,
  CAST(coalesce(s.n_faces, 0) AS BIGINT) AS n_faces,
  coalesce(s.video_s, 0.0) AS video_s,
  coalesce(s.compute_s, 0.0) AS compute_s,
  s.n_frames / nullif(s.compute_s, 0.0) AS frames_per_compute_s,
  r.pipeline_fingerprint,
  r.code_version,
  r.providers,
  r.key_id,
  r.host
FROM (
  SELECT
    runs.*,
    row_number() OVER (
      PARTITION BY run_id
      ORDER BY CASE WHEN status = 'started' THEN 1 ELSE 0 END, committed_at DESC
    ) AS recency
  FROM runs
) AS r
LEFT JOIN (
  SELECT
    run_id,
    sum(n_frames_out) AS n_frames,
    sum(n_faces) AS n_faces,
    sum(duration_s) AS video_s,
    sum(compute_s) AS compute_s
  FROM segments
  GROUP BY run_id
) AS s
  ON r.run_id = s.run_id
WHERE r.recency = 1
