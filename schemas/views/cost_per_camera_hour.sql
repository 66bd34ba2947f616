-- Per run and camera: compute for one hour of video, and its price where the run was given one.
SELECT
  s.run_id,
  s.fleet,
  s.camera,
  s.camera_hours,
  s.compute_hours,
  s.gpu_hours,
  s.compute_hours / s.camera_hours AS compute_hours_per_camera_hour,
  r.price_per_hour,
  r.price_per_hour * s.compute_hours / s.camera_hours AS cost_per_camera_hour
FROM (
  SELECT
    run_id,
    fleet,
    camera,
    sum(duration_s) / 3600.0 AS camera_hours,
    sum(compute_s) / 3600.0 AS compute_hours,
    sum(gpu_s) / 3600.0 AS gpu_hours
  FROM segments
  WHERE status = 'published' AND duration_s > 0.0
  GROUP BY run_id, fleet, camera
) AS s
LEFT JOIN (
  SELECT run_id, max(price_per_hour) AS price_per_hour
  FROM runs
  GROUP BY run_id
) AS r
  ON s.run_id = r.run_id
