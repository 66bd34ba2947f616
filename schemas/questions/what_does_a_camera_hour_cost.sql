-- What does an hour of video of each camera cost to anonymize?
SELECT
  fleet,
  camera,
  sum(camera_hours) AS camera_hours,
  sum(compute_hours) / sum(camera_hours) AS compute_hours_per_camera_hour,
  sum(cost_per_camera_hour * camera_hours) / sum(camera_hours) AS cost_per_camera_hour
FROM cost_per_camera_hour
GROUP BY fleet, camera
ORDER BY fleet, camera
