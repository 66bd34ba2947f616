-- Was every published frame looked at a second time, and is any face uncovered?
SELECT
  fleet,
  camera,
  n_frames,
  n_frames_audited,
  n_repaired,
  n_uncovered,
  found_before_audit,
  n_quarantined
FROM coverage_by_camera
ORDER BY fleet, camera
