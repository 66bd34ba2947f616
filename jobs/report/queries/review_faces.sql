SELECT
  t.unit_id, t.recording_id, t.track, t.frame_index, t.boxes_xyxy_px, t.treatment, t.reason,
  u.clip_uri, u.clip_sha256, u.source_uri, u.source_sha256, u.stream_index, u.pts_start, u.pts_end,
  u.time_base_num, u.time_base_den, u.n_frames_in
FROM ranked t JOIN units u ON u.unit_id = t.unit_id
ORDER BY t.risk DESC, t.recording_id, t.track
LIMIT 25
