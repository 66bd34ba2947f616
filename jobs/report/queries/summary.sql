SELECT
  r.status AS outcome,
  r.exit_code,
  r.n_planned AS planned,
  r.n_done_before AS done_before,
  r.n_published AS published_now,
  r.n_quarantined AS quarantined_now,
  (SELECT count(*) FROM units WHERE status = 'published') AS clips,
  (SELECT count(*) FROM units WHERE treatment = 'copied') AS copied_bit_exact,
  (SELECT coalesce(sum(duration_s), 0) FROM units WHERE status = 'published') AS video_s,
  (SELECT coalesce(sum(n_frames_out), 0) FROM units WHERE status = 'published') AS frames,
  (SELECT coalesce(sum(n_faces), 0) FROM units WHERE status = 'published') AS faces,
  (SELECT count(DISTINCT person_id) FROM shown WHERE person_id <> '') AS persons,
  (SELECT coalesce(sum(compute_s), 0) FROM units) AS compute_s
FROM run r
