-- Can a person be followed from one recording or drive to another by the new face?
SELECT
  key_id,
  identity_scope,
  n_persons,
  n_persons_in_several_recordings,
  n_persons_in_several_drives,
  n_anchors,
  n_anchors_of_several_persons
FROM linkability
ORDER BY key_id, identity_scope
