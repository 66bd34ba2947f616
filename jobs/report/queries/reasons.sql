SELECT
  treatment,
  reason,
  count(*) AS faces,
  count(DISTINCT unit_id || ':' || track) AS tracks,
  count(*) * 1.0 / sum(count(*)) OVER () AS share
FROM (
  SELECT unit_id, track, unnest(treatment) AS treatment, unnest(reason) AS reason FROM shown
) AS faces
GROUP BY treatment, reason
ORDER BY faces DESC, reason
