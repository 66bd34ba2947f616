-- Per published track, over all judging encoders: the worst case of being recognized.
-- `margin_min` is the distance to the original minus the threshold of FAR 1e-3: below 0 means that
-- at least one face in twenty of the track is matched.
SELECT
  unit_id,
  track,
  recording_id,
  camera,
  drive_date,
  person_id,
  CAST(count(*) AS BIGINT) AS n_encoders,
  max(n_faces) AS n_faces,
  max(n_faces_judged) AS n_faces_judged,
  min(distance_original_min) AS distance_original_min,
  min(distance_negation_min) AS distance_negation_min,
  min(distance_original_p05 - threshold_far_1e3) AS margin_min,
  max(n_retrieved_far_1e3) AS n_retrieved,
  max(n_negation_retrieved_far_1e3) AS n_negation_retrieved,
  max(n_rank1) AS n_rank1,
  max(gallery_size) AS gallery_size,
  max(consistency_output - consistency_original) AS added_variation
FROM current_identity_audit
GROUP BY unit_id, track, recording_id, camera, drive_date, person_id
