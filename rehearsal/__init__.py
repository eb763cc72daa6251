"""The rehearsal: everything needed to run the deployment without a cloud account.

`rehearsal.cloud` answers Alibaba Cloud's API, `rehearsal.machine` boots the instances that it is
asked for, and `rehearsal.comfyui` stands in for the program that they run.
"""
