from base as stage
env a=b
run touch /f
From stage
Copy --from=stage /f /g
