-- Published tracks in the order in which a person should look at them, the riskiest first.
-- `risk` adds the share of faces still matched, the share that only the audit found, the share
-- filled in between detections, and how near the track is to the threshold.
SELECT
  risk,
  CASE
    WHEN retrieved_share > 0.0 THEN 'matched to the original'
    WHEN repaired_share > 0.0 THEN 'found by the audit only'
    WHEN margin_min < 0.1 THEN 'near the threshold'
    WHEN filled_share > 0.5 THEN 'mostly filled in'
    ELSE 'sample'
  END AS why,
  recording_id,
  camera,
  unit_id,
  track,
  first_frame,
  last_frame,
  n_faces,
  n_swapped,
  n_redacted,
  margin_min,
  clip_uri
FROM (
  SELECT
    scored.*,
    10.0 * retrieved_share
      + 5.0 * repaired_share
      + filled_share
      + CASE WHEN margin_min < 0.2 THEN 5.0 * (0.2 - margin_min) ELSE 0.0 END AS risk
  FROM (
    SELECT
      t.recording_id,
      t.camera,
      t.unit_id,
      t.track,
      t.first_frame,
      t.last_frame,
      t.n_faces,
      t.n_swapped,
      t.n_redacted,
      s.clip_uri,
      i.margin_min,
      coalesce(CAST(i.n_retrieved AS DOUBLE) / nullif(i.n_faces_judged, 0), 0.0)
        AS retrieved_share,
      coalesce(CAST(t.n_repaired AS DOUBLE) / nullif(t.n_faces, 0), 0.0) AS repaired_share,
      coalesce(CAST(t.n_interpolated + t.n_extended AS DOUBLE) / nullif(t.n_faces, 0), 0.0)
        AS filled_share
    FROM current_tracks AS t
    JOIN current_segments AS s
      ON t.unit_id = s.unit_id
    LEFT JOIN identity_risk AS i
      ON t.unit_id = i.unit_id AND t.track = i.track
  ) AS scored
) AS ranked
