-- Which twenty tracks should a person look at first?
SELECT risk, why, recording_id, camera, track, first_frame, last_frame, clip_uri
FROM review_queue
ORDER BY risk DESC, recording_id, unit_id, track
LIMIT 20
