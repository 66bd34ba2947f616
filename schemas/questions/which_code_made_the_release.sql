-- Which code, configuration, weights and key made what is published now?
SELECT
  code_version,
  config_sha256,
  weights_json,
  providers,
  key_id,
  CAST(count(*) AS BIGINT) AS n_segments,
  min(committed_at) AS first_commit,
  max(committed_at) AS last_commit
FROM current_segments
WHERE status = 'published'
GROUP BY code_version, config_sha256, weights_json, providers, key_id
ORDER BY last_commit DESC
