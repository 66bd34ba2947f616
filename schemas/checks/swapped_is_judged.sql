-- No published track with swapped faces lacks the verdict of a judging encoder.
SELECT t.unit_id, t.track, t.run_id, t.n_swapped
FROM current_tracks AS t
LEFT JOIN (
  SELECT unit_id, track, max(n_faces_judged) AS n_faces_judged
  FROM current_identity_audit
  GROUP BY unit_id, track
) AS i
  ON t.unit_id = i.unit_id AND t.track = i.track
WHERE t.n_swapped > 0 AND coalesce(i.n_faces_judged, 0) = 0
