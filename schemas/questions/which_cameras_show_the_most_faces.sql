-- Which cameras record the most people, and what became of the faces?
SELECT
  fleet,
  camera,
  sum(video_s) / 3600.0 AS camera_hours,
  sum(face_seconds) AS face_seconds,
  sum(face_seconds) / nullif(sum(video_s), 0.0) AS faces_in_view,
  CAST(sum(n_faces_swapped) AS BIGINT) AS n_faces_swapped,
  CAST(sum(n_faces_redacted) AS BIGINT) AS n_faces_redacted
FROM exposure
GROUP BY fleet, camera
ORDER BY face_seconds DESC, fleet, camera
