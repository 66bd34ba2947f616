-- Can a person still be recognized? Share of judged faces that an encoder matches to the original, beside the share it would match to somebody else in view.
SELECT
  encoder,
  shown,
  eye_distance_px,
  n_faces_judged,
  retrieved_rate,
  retrieved_rate_high,
  others_retrieved_rate,
  negation_retrieved_rate,
  rank1_rate,
  rank1_rate_by_chance
FROM identity_rate
ORDER BY encoder, shown DESC, eye_distance_px
