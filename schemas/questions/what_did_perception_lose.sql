-- What did replacement cost perception: pose, gaze, expression, landmarks, stability, per camera?
SELECT
  camera,
  eye_distance_px,
  n_tracks,
  n_faces_judged,
  pose_drift_deg,
  gaze_drift_deg,
  expression_drift,
  landmark_drift,
  consistency_original,
  consistency_output
FROM utility_drift
ORDER BY camera, eye_distance_px
