-- No clip stands for two segments, or for two renderings of one.
SELECT clip_uri, count(*) AS n_rows
FROM segments
WHERE clip_uri IS NOT NULL
GROUP BY clip_uri
HAVING count(*) > 1
