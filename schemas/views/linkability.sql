-- Per key and identity scope: can published faces be linked to each other? A person keeps one
-- synthetic face within a scope, on purpose; between scopes a face may return only by chance, and
-- the more persons share a synthetic identity, the less its return says.
SELECT
  p.key_id,
  p.identity_scope,
  p.n_persons,
  p.n_persons_in_several_recordings,
  p.n_persons_in_several_drives,
  a.n_anchors,
  a.n_anchors_of_several_persons,
  a.n_persons_per_anchor_max
FROM (
  SELECT
    key_id,
    identity_scope,
    CAST(count(*) AS BIGINT) AS n_persons,
    CAST(sum(CASE WHEN n_recordings > 1 THEN 1 ELSE 0 END) AS BIGINT)
      AS n_persons_in_several_recordings,
    CAST(sum(CASE WHEN n_drives > 1 THEN 1 ELSE 0 END) AS BIGINT) AS n_persons_in_several_drives
  FROM (
    SELECT
      key_id,
      identity_scope,
      person_id,
      count(DISTINCT recording_id) AS n_recordings,
      count(DISTINCT drive_id) AS n_drives
    FROM current_tracks
    WHERE person_id <> ''
    GROUP BY key_id, identity_scope, person_id
  ) AS persons
  GROUP BY key_id, identity_scope
) AS p
LEFT JOIN (
  SELECT
    key_id,
    identity_scope,
    CAST(count(*) AS BIGINT) AS n_anchors,
    CAST(sum(CASE WHEN n_persons > 1 THEN 1 ELSE 0 END) AS BIGINT)
      AS n_anchors_of_several_persons,
    CAST(max(n_persons) AS BIGINT) AS n_persons_per_anchor_max
  FROM (
    SELECT key_id, identity_scope, anchor_id, count(DISTINCT person_id) AS n_persons
    FROM current_tracks
    WHERE anchor_id <> '' AND person_id <> ''
    GROUP BY key_id, identity_scope, anchor_id
  ) AS anchors
  GROUP BY key_id, identity_scope
) AS a
  ON p.key_id = a.key_id AND p.identity_scope = a.identity_scope
