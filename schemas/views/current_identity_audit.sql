-- The identity audit of what is published now, with the size class of each track's face.
SELECT
  identity_audit.*,
  CASE
    WHEN eye_distance_px_p50 IS NULL THEN 'unknown'
    WHEN eye_distance_px_p50 < 12 THEN 'below 12'
    WHEN eye_distance_px_p50 < 24 THEN '12 to 24'
    WHEN eye_distance_px_p50 < 48 THEN '24 to 48'
    ELSE 'from 48'
  END AS eye_distance_class_px
FROM identity_audit
JOIN current_segments AS s
  ON identity_audit.unit_id = s.unit_id
  AND identity_audit.run_id = s.run_id
  AND identity_audit.pipeline_fingerprint = s.pipeline_fingerprint
WHERE s.status = 'published'
