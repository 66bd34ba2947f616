-- No unit is published twice by the same code, configuration and weights.
SELECT unit_id, pipeline_fingerprint, count(*) AS n_rows
FROM segments
WHERE status = 'published'
GROUP BY unit_id, pipeline_fingerprint
HAVING count(*) > 1
