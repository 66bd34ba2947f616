-- The face tracks of what is published now, as they were treated.
SELECT tracks.*
FROM tracks
JOIN current_segments AS s
  ON tracks.unit_id = s.unit_id
  AND tracks.run_id = s.run_id
  AND tracks.pipeline_fingerprint = s.pipeline_fingerprint
WHERE tracks.state = 'treated' AND s.status = 'published'
