SELECT
  camera,
  count(*) AS clips,
  sum(CASE WHEN treatment = 'copied' THEN 1 ELSE 0 END) AS copied_bit_exact,
  sum(n_faces) AS faces,
  sum(n_faces_swapped) AS swapped,
  sum(n_faces_redacted) AS redacted
FROM units
WHERE status = 'published'
GROUP BY camera
ORDER BY camera
