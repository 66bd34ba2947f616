-- A finished run accounts for every planned unit, and for each one there is a lineage row.
SELECT r.run_id, r.n_planned, r.n_done_before, r.n_published, r.n_quarantined, s.n_rows
FROM run_summary AS r
LEFT JOIN (
  SELECT run_id, count(*) AS n_rows FROM segments GROUP BY run_id
) AS s
  ON r.run_id = s.run_id
WHERE r.status IN ('clean', 'quarantined')
  AND (
    r.n_planned <> r.n_done_before + r.n_published + r.n_quarantined
    OR coalesce(s.n_rows, 0) <> r.n_published + r.n_quarantined
  )
