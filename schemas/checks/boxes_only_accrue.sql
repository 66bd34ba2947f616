-- No box that the find pass committed is missing from the published treatment.
SELECT f.unit_id, f.n_faces AS n_faces_found, t.n_faces AS n_faces_treated
FROM (
  SELECT unit_id, find_fingerprint, run_id, sum(n_faces) AS n_faces
  FROM tracks
  WHERE state = 'found'
  GROUP BY unit_id, find_fingerprint, run_id
) AS f
JOIN current_segments AS s
  ON f.unit_id = s.unit_id AND f.find_fingerprint = s.find_fingerprint AND f.run_id = s.run_id
LEFT JOIN (
  SELECT unit_id, sum(n_faces) AS n_faces FROM current_tracks GROUP BY unit_id
) AS t
  ON f.unit_id = t.unit_id
WHERE s.status = 'published' AND f.n_faces > coalesce(t.n_faces, 0)
