-- Per recording: how much of it shows faces, and what became of them.
SELECT
  s.fleet,
  s.drive_date,
  s.drive_id,
  s.recording_id,
  s.camera,
  CAST(count(*) AS BIGINT) AS n_segments,
  CAST(sum(CASE WHEN s.treatment = 'copied' THEN 1 ELSE 0 END) AS BIGINT) AS n_segments_copied,
  CAST(sum(CASE WHEN s.status = 'quarantined' THEN 1 ELSE 0 END) AS BIGINT)
    AS n_segments_quarantined,
  sum(s.duration_s) AS video_s,
  CAST(sum(s.n_frames_out) AS BIGINT) AS n_frames,
  CAST(sum(s.n_frames_with_faces) AS BIGINT) AS n_frames_with_faces,
  sum(s.face_seconds) AS face_seconds,
  CAST(coalesce(max(p.n_persons), 0) AS BIGINT) AS n_persons,
  CAST(sum(s.n_faces) AS BIGINT) AS n_faces,
  CAST(sum(s.n_faces_swapped) AS BIGINT) AS n_faces_swapped,
  CAST(sum(s.n_faces_redacted) AS BIGINT) AS n_faces_redacted
FROM current_segments AS s
LEFT JOIN (
  SELECT recording_id, count(DISTINCT person_id) AS n_persons
  FROM current_tracks
  WHERE person_id <> ''
  GROUP BY recording_id
) AS p
  ON s.recording_id = p.recording_id
GROUP BY s.fleet, s.drive_date, s.drive_id, s.recording_id, s.camera
