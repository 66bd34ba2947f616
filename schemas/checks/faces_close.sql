-- Every face of a published clip was swapped or redacted, and none was left uncovered.
SELECT unit_id, run_id, n_faces, n_faces_swapped, n_faces_redacted, audit_faces_missed
FROM segments
WHERE status = 'published'
  AND (n_faces <> n_faces_swapped + n_faces_redacted OR audit_faces_missed <> 0)
