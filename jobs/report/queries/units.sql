-- What the report is about: the run, and the latest row of every unit it planned or found done.
run AS (
  SELECT * FROM runs WHERE run_id = $run_id ORDER BY committed_at DESC LIMIT 1
),
units AS (
  SELECT * FROM (
    SELECT s.*, row_number() OVER (PARTITION BY s.unit_id ORDER BY s.committed_at DESC) AS newest
    FROM segments s JOIN run r
      ON s.pipeline_fingerprint = r.pipeline_fingerprint
     AND (s.run_id = r.run_id OR s.plan_id = r.plan_id)
  ) AS numbered WHERE newest = 1
),
shown AS (
  SELECT t.* FROM tracks t JOIN units u
    ON t.unit_id = u.unit_id AND t.pipeline_fingerprint = u.pipeline_fingerprint
  WHERE t.state = 'treated' AND u.status = 'published'
),
judged AS (
  SELECT a.*,
    CASE
      WHEN a.eye_distance_px_p50 IS NULL THEN 'unknown'
      WHEN a.eye_distance_px_p50 < 20 THEN 'under 20 px'
      WHEN a.eye_distance_px_p50 < 40 THEN '20 to 40 px'
      ELSE '40 px and more'
    END AS eye_distance,
    CASE WHEN 2 * a.n_swapped_judged >= a.n_faces_judged THEN 'replaced' ELSE 'redacted' END AS shown
  FROM identity_audit a JOIN units u
    ON a.unit_id = u.unit_id AND a.pipeline_fingerprint = u.pipeline_fingerprint
  WHERE u.status = 'published'
),
-- Risk: judged nearer than the threshold counts 3, a face that only the audit found 2; then the
-- share of boxes that no detector saw, and doubtful detections.
ranked AS (
  SELECT t.*, a.distance_original_min,
    CASE WHEN a.distance_original_min < a.threshold_far_1e3 THEN 3 ELSE 0 END
      + CASE WHEN t.n_repaired > 0 THEN 2 ELSE 0 END
      + (t.n_interpolated + t.n_extended) * 1.0 / greatest(t.n_faces, 1)
      + 1 - coalesce(t.score_p50, 0) AS risk
  FROM shown t LEFT JOIN (
    SELECT unit_id, track, min(distance_original_min) AS distance_original_min,
           max(threshold_far_1e3) AS threshold_far_1e3
    FROM judged GROUP BY unit_id, track
  ) AS a ON a.unit_id = t.unit_id AND a.track = t.track
  WHERE t.track >= 0
)
