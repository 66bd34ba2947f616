-- Per camera: was every frame looked at, who found the faces, and is anything uncovered.
-- `found_before_audit` is the share of the covered faces that needed no second detector.
SELECT
  s.fleet,
  s.camera,
  s.n_published,
  s.n_quarantined,
  s.n_frames,
  s.n_frames_audited,
  s.n_faces,
  CAST(coalesce(t.n_detected, 0) AS BIGINT) AS n_detected,
  CAST(coalesce(t.n_filled, 0) AS BIGINT) AS n_filled,
  s.n_repaired,
  s.n_uncovered,
  1.0 - CAST(s.n_repaired AS DOUBLE) / nullif(s.n_faces, 0) AS found_before_audit
FROM (
  SELECT
    fleet,
    camera,
    CAST(sum(CASE WHEN status = 'published' THEN 1 ELSE 0 END) AS BIGINT) AS n_published,
    CAST(sum(CASE WHEN status = 'quarantined' THEN 1 ELSE 0 END) AS BIGINT) AS n_quarantined,
    CAST(sum(n_frames_out) AS BIGINT) AS n_frames,
    CAST(sum(n_frames_audited) AS BIGINT) AS n_frames_audited,
    CAST(sum(n_faces) AS BIGINT) AS n_faces,
    CAST(sum(audit_repairs) AS BIGINT) AS n_repaired,
    CAST(sum(CASE WHEN status = 'published' THEN audit_faces_missed ELSE 0 END) AS BIGINT)
      AS n_uncovered
  FROM current_segments
  GROUP BY fleet, camera
) AS s
LEFT JOIN (
  SELECT
    fleet,
    camera,
    sum(n_detected) AS n_detected,
    sum(n_interpolated + n_extended) AS n_filled
  FROM current_tracks
  GROUP BY fleet, camera
) AS t
  ON s.fleet = t.fleet AND s.camera = t.camera
