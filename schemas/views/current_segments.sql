-- The latest outcome of every segment: what is published now, and what is not.
SELECT *
FROM (
  SELECT
    segments.*,
    row_number() OVER (
      PARTITION BY unit_id ORDER BY committed_at DESC, run_id DESC, attempt DESC
    ) AS recency
  FROM segments
) AS ranked
WHERE recency = 1
