SELECT
  encoder,
  shown,
  eye_distance,
  count(*) AS tracks,
  sum(n_faces_judged) AS faces_judged,
  min(distance_original_min) AS distance_min,
  median(distance_original_p50) AS distance_median,
  min(distance_negation_min) AS distance_negation_min,
  median(threshold_far_1e3) AS threshold_far_1e3,
  sum(n_retrieved_far_1e3) AS matched_original,
  sum(others_retrieved_far_1e3) AS matched_others,
  sum(n_negation_retrieved_far_1e3) AS matched_negation,
  sum(n_rank1) AS rank_1
FROM judged
GROUP BY 1, 2, 3
ORDER BY 1, 2 DESC, 3
