-- Per judging encoder, face size and what is shown (a track counts as replaced when most of its
-- judged faces are): how often a published face is still matched to the original person at FAR
-- 1e-3, with the upper end of the 95 % interval (Wilson), and how often it would match somebody
-- else in view. Thresholds come from portraits; on small or mosaicked faces encoders match anybody,
-- so only the excess over the others says something about the person. The negated embedding and
-- rank 1 stand beside it, and what rank 1 would be by chance.
SELECT
  encoder,
  eye_distance_px,
  shown,
  n_tracks,
  n_faces_judged,
  n_retrieved,
  n_retrieved / n_faces_judged AS retrieved_rate,
  (
    n_retrieved + 1.920729 + 1.959964 * sqrt(
      n_retrieved * (n_faces_judged - n_retrieved) / n_faces_judged + 0.960365
    )
  ) / (n_faces_judged + 3.841459) AS retrieved_rate_high,
  n_others_retrieved / nullif(n_faces_with_others, 0) AS others_retrieved_rate,
  n_negation_retrieved / n_faces_judged AS negation_retrieved_rate,
  n_rank1 / n_faces_judged AS rank1_rate,
  n_rank1_by_chance / n_faces_judged AS rank1_rate_by_chance,
  distance_original_min
FROM (
  SELECT
    encoder,
    eye_distance_class_px AS eye_distance_px,
    CASE WHEN 2 * n_swapped_judged >= n_faces_judged THEN 'replaced' ELSE 'redacted' END AS shown,
    CAST(count(*) AS BIGINT) AS n_tracks,
    CAST(sum(n_faces_judged) AS DOUBLE) AS n_faces_judged,
    CAST(sum(n_retrieved_far_1e3) AS DOUBLE) AS n_retrieved,
    CAST(sum(others_retrieved_far_1e3) AS DOUBLE) AS n_others_retrieved,
    CAST(sum(CASE WHEN others_retrieved_far_1e3 IS NULL THEN 0 ELSE n_faces_judged END) AS DOUBLE)
      AS n_faces_with_others,
    CAST(sum(n_negation_retrieved_far_1e3) AS DOUBLE) AS n_negation_retrieved,
    CAST(sum(n_rank1) AS DOUBLE) AS n_rank1,
    sum(CAST(n_faces_judged AS DOUBLE) / CASE WHEN gallery_size < 1 THEN 1 ELSE gallery_size END)
      AS n_rank1_by_chance,
    min(distance_original_min) AS distance_original_min
  FROM current_identity_audit
  WHERE n_faces_judged > 0
  GROUP BY 1, 2, 3
) AS judged
