SELECT
  camera,
  eye_distance,
  count(*) AS tracks,
  CAST(sum(faces_judged) AS BIGINT) AS faces_judged,
  sum(pose_drift_deg * faces_judged) / sum(faces_judged) AS pose_deg,
  sum(gaze_drift_deg * faces_judged) / sum(faces_judged) AS gaze_deg,
  sum(expression_drift * faces_judged) / sum(faces_judged) AS expression,
  sum(landmark_drift * faces_judged) / sum(faces_judged) AS landmarks_percent,
  avg(consistency_original) AS variation_before,
  avg(consistency_output) AS variation_after
FROM (
  SELECT
    unit_id,
    track,
    camera,
    eye_distance,
    CAST(max(n_faces_judged) AS DOUBLE) AS faces_judged,
    max(pose_drift_deg) AS pose_drift_deg,
    max(gaze_drift_deg) AS gaze_drift_deg,
    max(expression_drift) AS expression_drift,
    max(landmark_drift) AS landmark_drift,
    avg(consistency_original) AS consistency_original,
    avg(consistency_output) AS consistency_output
  FROM judged
  WHERE landmark_drift IS NOT NULL AND n_faces_judged > 0
  GROUP BY 1, 2, 3, 4
) AS drifted
GROUP BY camera, eye_distance
ORDER BY camera, eye_distance
