SELECT
  recording_id AS recording,
  count(*) AS segments,
  sum(CASE WHEN status = 'published' THEN 1 ELSE 0 END) AS published,
  sum(n_frames_in) AS frames_in,
  sum(n_frames_out) AS frames_out,
  sum(n_frames_audited) AS frames_audited,
  sum(n_frames_with_faces) AS frames_with_faces,
  sum(n_faces) AS faces,
  sum(audit_repairs) AS repaired,
  sum(audit_faces_missed) AS left_uncovered,
  sum(n_frames_in) = sum(n_frames_out)
    AND sum(n_faces) = sum(n_faces_swapped) + sum(n_faces_redacted) AS closes
FROM units
GROUP BY recording_id
ORDER BY recording_id
LIMIT 500
