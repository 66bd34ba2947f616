SELECT
  camera,
  eye_distance,
  count(*) AS tracks,
  sum(faces_judged) AS faces_judged,
  avg(pose_drift_deg) AS pose_deg,
  avg(gaze_drift_deg) AS gaze_deg,
  avg(expression_drift) AS expression,
  avg(landmark_drift) AS landmarks_percent,
  avg(consistency_original) AS variation_before,
  avg(consistency_output) AS variation_after
FROM (
  SELECT
    unit_id,
    track,
    camera,
    eye_distance,
    max(n_faces_judged) AS faces_judged,
    max(pose_drift_deg) AS pose_drift_deg,
    max(gaze_drift_deg) AS gaze_drift_deg,
    max(expression_drift) AS expression_drift,
    max(landmark_drift) AS landmark_drift,
    avg(consistency_original) AS consistency_original,
    avg(consistency_output) AS consistency_output
  FROM judged
  WHERE landmark_drift IS NOT NULL
  GROUP BY 1, 2, 3, 4
) AS drifted
GROUP BY camera, eye_distance
ORDER BY camera, eye_distance
