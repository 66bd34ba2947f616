SELECT
  u.vehicle_id AS vehicle,
  u.camera,
  sum(u.duration_s) / 3600 AS camera_hours,
  sum(u.face_seconds) AS face_seconds,
  sum(u.face_seconds) / sum(u.duration_s) AS faces_in_view,
  sum(u.compute_s) AS compute_s,
  sum(u.compute_s) / sum(u.duration_s) AS compute_per_video_s,
  max(r.price_per_hour) * sum(u.compute_s) / sum(u.duration_s) AS cost_per_camera_hour
FROM units u, run r
WHERE u.status = 'published' AND u.duration_s > 0
GROUP BY u.vehicle_id, u.camera
ORDER BY face_seconds DESC
LIMIT 200
