-- The tracks of a published clip add up to its faces.
SELECT s.unit_id, s.run_id, s.n_faces, t.n_faces AS n_faces_in_tracks
FROM current_segments AS s
LEFT JOIN (
  SELECT unit_id, sum(n_faces) AS n_faces FROM current_tracks GROUP BY unit_id
) AS t
  ON s.unit_id = t.unit_id
WHERE s.status = 'published' AND s.n_faces <> coalesce(t.n_faces, 0)
