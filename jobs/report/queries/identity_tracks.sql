SELECT
  encoder,
  shown,
  eye_distance,
  n_faces_judged AS faces_judged,
  n_retrieved_far_1e3 AS matched_original
FROM judged
