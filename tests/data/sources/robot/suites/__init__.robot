*** Settings ***
Documentation     System tests of the controller.
Metadata          Board    rev-c
