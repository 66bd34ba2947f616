-- The identity audit of what is published now.
SELECT identity_audit.*
FROM identity_audit
JOIN current_segments AS s
  ON identity_audit.unit_id = s.unit_id
  AND identity_audit.run_id = s.run_id
  AND identity_audit.pipeline_fingerprint = s.pipeline_fingerprint
WHERE s.status = 'published'
