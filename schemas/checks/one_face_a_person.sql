-- Nobody shows two faces within an identity scope, as long as code, configuration and key stay.
SELECT person_id, pipeline_fingerprint, count(DISTINCT anchor_id) AS n_anchors
FROM current_tracks
WHERE n_swapped > 0
GROUP BY person_id, pipeline_fingerprint
HAVING count(DISTINCT anchor_id) > 1
