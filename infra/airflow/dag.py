"""The nightly run as an Airflow DAG (Airflow 2.9 or 3, with nothing but Bash operators).

Airflow's variables `deid_manifest`, `deid_lake` and `deid_ray_address` say where things lie; the
secret key comes from the environment of the worker (`DEID_KEY`), storage credentials likewise.
A retry is harmless: what the lake holds is not done again. Exit code 3 means that some recordings
were quarantined; the night still counts, and `what_is_held_back` lists them.
"""

from __future__ import annotations

import datetime as dt

try:
    from airflow.providers.standard.operators.bash import BashOperator
    from airflow.sdk import DAG
except ImportError:  # Airflow 2
    from airflow import DAG
    from airflow.operators.bash import BashOperator

LAKE = "{{ var.value.deid_lake }}"
RUN = (
    "deid nightly --manifest {{ var.value.deid_manifest }} --lake " + LAKE + " "
    "--config {{ var.value.get('deid_config', '/etc/deid/nightly.yaml') }} "
    "--ray-address {{ var.value.deid_ray_address }} "
    "--from {{ data_interval_start | ds }} --to {{ data_interval_start | ds }} "
    "|| [ $? -eq 3 ]"
)

with DAG(
    dag_id="deid_nightly",
    description="Anonymize yesterday's drives and check the result.",
    schedule="30 1 * * *",
    start_date=dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 2, "retry_delay": dt.timedelta(minutes=10)},
    tags=["deid-lake"],
    doc_md=__doc__,
) as dag:
    nightly = BashOperator(
        task_id="nightly", bash_command=RUN, execution_timeout=dt.timedelta(hours=10)
    )
    verify = BashOperator(task_id="verify", bash_command=f"deid verify --lake {LAKE}")
    held_back = BashOperator(
        task_id="held_back",
        bash_command=f"deid sql --lake {LAKE} --format json what_is_held_back",
    )
    report = BashOperator(
        task_id="report", bash_command=f"deid report --lake {LAKE} --out /var/lib/deid/reports"
    )
    nightly >> verify >> [held_back, report]
