-- Per camera and face size: what the swapped faces lost for perception. Turn of the head, angles of
-- the eyes, expression and landmarks between source and output, means over tracks weighted by
-- their judged faces, and the worst track's landmarks; then how much the identity varies along a
-- track before and after. The network that reads the angles conditions the generator, too.
SELECT
  camera,
  eye_distance_px,
  CAST(count(*) AS BIGINT) AS n_tracks,
  CAST(sum(n_faces_judged) AS BIGINT) AS n_faces_judged,
  sum(pose_drift_deg * n_faces_judged) / sum(n_faces_judged) AS pose_drift_deg,
  sum(gaze_drift_deg * n_faces_judged) / sum(n_faces_judged) AS gaze_drift_deg,
  sum(expression_drift * n_faces_judged) / sum(n_faces_judged) AS expression_drift,
  sum(landmark_drift * n_faces_judged) / sum(n_faces_judged) AS landmark_drift,
  max(landmark_drift) AS landmark_drift_max,
  avg(consistency_original) AS consistency_original,
  avg(consistency_output) AS consistency_output
FROM (
  SELECT
    unit_id,
    track,
    camera,
    eye_distance_class_px AS eye_distance_px,
    CAST(max(n_faces_judged) AS DOUBLE) AS n_faces_judged,
    max(pose_drift_deg) AS pose_drift_deg,
    max(gaze_drift_deg) AS gaze_drift_deg,
    max(expression_drift) AS expression_drift,
    max(landmark_drift) AS landmark_drift,
    avg(consistency_original) AS consistency_original,
    avg(consistency_output) AS consistency_output
  FROM current_identity_audit
  WHERE landmark_drift IS NOT NULL AND n_faces_judged > 0
  GROUP BY 1, 2, 3, 4
) AS drifted
GROUP BY camera, eye_distance_px
