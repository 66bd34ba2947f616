-- Can a person still be recognized? Share of judged faces that an encoder matches to the original.
SELECT
  encoder,
  eye_distance_px,
  n_faces_judged,
  retrieved_rate,
  retrieved_rate_high,
  negation_retrieved_rate,
  rank1_rate,
  rank1_rate_by_chance
FROM identity_rate
ORDER BY encoder, eye_distance_px
