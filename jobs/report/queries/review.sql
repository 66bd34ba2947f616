SELECT
  recording_id AS recording,
  unit_id,
  track,
  first_frame,
  last_frame,
  n_faces AS faces,
  n_repaired AS repaired,
  eye_distance_px_p50 AS eye_distance_px,
  distance_original_min AS distance_min,
  risk
FROM ranked
ORDER BY risk DESC, recording, track
LIMIT 25
