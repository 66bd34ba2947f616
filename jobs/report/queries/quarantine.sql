SELECT DISTINCT
  q.recording_id AS recording,
  q.camera,
  q.stage,
  q.reason,
  q.detail,
  q.remedy,
  q.attempt
FROM quarantine q JOIN units u
  ON q.unit_id = u.unit_id AND q.pipeline_fingerprint = u.pipeline_fingerprint
WHERE u.status = 'quarantined'
ORDER BY recording, q.stage
LIMIT 500
