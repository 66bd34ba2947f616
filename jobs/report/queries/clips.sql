SELECT
  u.unit_id, u.recording_id, u.clip_uri, u.clip_sha256, u.source_uri, u.source_sha256,
  u.stream_index, u.pts_start, u.pts_end, u.time_base_num, u.time_base_den, u.n_frames_in,
  u.n_faces, f.frames_with_faces
FROM (
  SELECT *, row_number() OVER (PARTITION BY recording_id ORDER BY n_faces DESC, unit_id) AS place
  FROM units WHERE status = 'published' AND n_faces > 0
) AS u JOIN (
  SELECT unit_id, coalesce(list(frame) FILTER (WHERE origin = 0), list(frame)) AS frames_with_faces
  FROM (
    SELECT unit_id, unnest(frame_index) AS frame, unnest(origin) AS origin
    FROM shown WHERE track >= 0
  ) AS boxes
  GROUP BY unit_id
) AS f ON f.unit_id = u.unit_id
WHERE u.place = 1
ORDER BY u.n_faces DESC, u.recording_id
LIMIT 50
