-- Every frame of the source is in the published clip, and the second detector has seen it.
SELECT unit_id, run_id, n_frames_in, n_frames_out, n_frames_audited
FROM segments
WHERE status = 'published'
  AND (n_frames_in <> n_frames_out OR n_frames_audited <> n_frames_out)
